"""What the benchmarks share: names in the generated log, scales, and the sizes of the aims."""

ACTIONS = ("browse", "search", "cart", "purchase")

HOUR_US = 3_600_000_000
SCALES = {
    "1h": HOUR_US,
    "1d": 24 * HOUR_US,
    "7d": 7 * 24 * HOUR_US,
    "30d": 30 * 24 * HOUR_US,
    "90d": 90 * 24 * HOUR_US,
    "365d": 365 * 24 * HOUR_US,
}

SHAPES_EVENTS = 1_000_000
GROWTH_EVENTS = (100_000, 1_000_000, 10_000_000)
GROWTH_MEMORY = "6GB"  # what DuckDB may hold; Python, dbt and Arrow come on top
INCREMENTS_EVENTS = 1_000_000
SCALING_EVENTS = (1_000_000, 10_000_000)  # by both engines
EVENTS_PER_USER = 100  # of a uniform log
SKEWED_USERS = 20

COMPARED_ROWS = (25_000, 100_000, 250_000)
STREAMED_ROWS = (1_000_000, 10_000_000)
JOIN_USERS = 500
COMPARED_FEATURES = 8  # in one view
STREAMED_FEATURES = (8, 8, 8, 8, 7, 7, 7, 7)  # 60 in eight views

STREAM_EVENTS = 1_000_000  # of the log that is there already
STREAM_RATES = (100.0, 300.0, 1_000.0)  # events/s
STREAM_SECONDS = 60.0  # of each run

SERVING_RATE = 200  # requests a second
SERVING_SECONDS = 60
SERVING_CONNECTIONS = 40

SEED = 7

ONLINE_USERS = 100_000
ONLINE_FEATURES = (10, 10, 10, 9, 9, 9, 9, 9)  # 75 in eight views
READ_USERS = 100

PRIVACY_LOGS = ("purchase_cards", "code_changes")  # real ones, by their dataset files
PRIVACY_EPSILONS = (1.0, 3.0, 8.0)
PRIVACY_EPOCHS = 10  # of a private fit
PRIVACY_MODELS = 5  # that are attacked, of each kind

TRAINING_EVENTS = 200_000
TRAINING_USERS = 2_000
TRAINING_FEATURES = 60
TRAINING_EPOCHS = 3
TRAINING_BATCHES = (16, 64)  # chunks; the first is the trainer's default
TRAINING_MEMORY_EVENTS = (300_000, 1_000_000, 10_000_000)

QUALITY_SEEDS = 3  # fits of a model that has a seed

PEER_EPOCHS = 10

DRIFT_SEEDS = 10
DRIFT_USERS = 800  # of each population over the whole time; a quarter of them in a week
