{{ user_activity('1d') }}
