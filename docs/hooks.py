"""What mkdocs calls while it builds the site."""

from building.hooks import on_config, on_files, on_page_markdown

__all__ = ["on_config", "on_files", "on_page_markdown"]
