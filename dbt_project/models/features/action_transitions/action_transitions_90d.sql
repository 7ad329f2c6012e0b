{{ action_transitions('90d') }}
