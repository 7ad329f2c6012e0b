{{ user_activity('1h') }}
