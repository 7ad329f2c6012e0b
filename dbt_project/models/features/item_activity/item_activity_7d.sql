{{ item_activity('7d') }}
