{{ item_activity('365d') }}
