{{ user_activity('all') }}
