{{ user_rhythm('90d') }}
