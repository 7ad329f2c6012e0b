{{ user_activity('30d') }}
