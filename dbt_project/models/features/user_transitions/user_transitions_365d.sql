{{ user_transitions('365d') }}
