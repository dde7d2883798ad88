"""The running service: watcher, settle, tasks, broker, catalog, supervisor."""
