{{ user_transitions('1d') }}
