{{ action_transitions('1d') }}
