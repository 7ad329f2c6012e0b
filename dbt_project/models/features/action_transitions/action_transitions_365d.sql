{{ action_transitions('365d') }}
