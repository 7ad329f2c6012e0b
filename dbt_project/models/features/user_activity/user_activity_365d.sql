{{ user_activity('365d') }}
