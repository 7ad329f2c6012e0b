{{ user_transitions('7d') }}
