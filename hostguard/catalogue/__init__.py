"""The catalogue as documentation: for `checks` and `explain`, for docs/controls.md, and as JSON.

ways: how each kind of resource is read, reached and undone. standards: what each requirement asks. entries: the
controls with both. json and page: as machines and as people read them.
"""
