{{ item_activity('all') }}
