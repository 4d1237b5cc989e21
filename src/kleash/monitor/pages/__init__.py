"""What each page shows: figures in, the HTML of its sections out, by the templates of `templates/`.

`rendering` renders them, `single_page` makes a page that is one file; each other module is a page or its sections.
"""
