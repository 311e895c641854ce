"""How the site is made: the code of its pages is run, and what it prints and draws becomes part of them."""
