{{ action_transitions('all') }}
