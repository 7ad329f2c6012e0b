{{ user_rhythm('30d') }}
