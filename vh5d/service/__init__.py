"""The running service: who watches, who captures, who keeps the stores, and how they agree.

- `watching`: what changed, and when it is to be captured; one process for each set of directories.
- `capturing`: workers, which take captures from a queue.
- `catalog`: what all of them know, in Redis.
- `stores`: their upkeep, by retention.
- `telling`: how it goes, and to whom.
- `running`: processes, signals, logs, systemd.
"""
