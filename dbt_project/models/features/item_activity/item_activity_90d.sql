{{ item_activity('90d') }}
