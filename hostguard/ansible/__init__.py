"""The one place that imports ansible: what the plugins of the collection do, and where the collection lies."""
