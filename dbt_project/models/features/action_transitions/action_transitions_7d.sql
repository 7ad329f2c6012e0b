{{ action_transitions('7d') }}
