{{ item_activity('30d') }}
