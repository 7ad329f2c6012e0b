{{ user_rhythm('all') }}
