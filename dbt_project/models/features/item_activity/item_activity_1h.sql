{{ item_activity('1h') }}
