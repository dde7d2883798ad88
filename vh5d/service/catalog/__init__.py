"""What watchers and workers know together, in Redis (`address`, `clock`).

`catalog`: the `records` of each `source`, changed by `sightings`, `claims` (`queues`), `captures`
(`places`, `statistics`, `departures`), `retries` and `recovery` (`roster`).
"""
