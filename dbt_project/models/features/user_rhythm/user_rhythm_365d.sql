{{ user_rhythm('365d') }}
