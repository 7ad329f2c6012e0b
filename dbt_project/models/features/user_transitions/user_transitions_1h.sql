{{ user_transitions('1h') }}
