"""The review page, its previews, and the contact sheet."""
