{{ user_transitions('30d') }}
