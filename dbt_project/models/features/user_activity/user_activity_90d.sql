{{ user_activity('90d') }}
