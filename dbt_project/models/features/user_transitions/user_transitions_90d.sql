{{ user_transitions('90d') }}
