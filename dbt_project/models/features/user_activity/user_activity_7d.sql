{{ user_activity('7d') }}
