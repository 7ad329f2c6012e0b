{{ user_transitions('all') }}
