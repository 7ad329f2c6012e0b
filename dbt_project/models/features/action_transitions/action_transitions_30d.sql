{{ action_transitions('30d') }}
