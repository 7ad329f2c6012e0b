{{ user_rhythm('7d') }}
