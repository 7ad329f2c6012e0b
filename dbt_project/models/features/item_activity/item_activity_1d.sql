{{ item_activity('1d') }}
