"""A page read the way a browser parses it, and a text that would take it over if it were markup."""

import json
from html.parser import HTMLParser

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">]]>-->&amp;"


class Page(HTMLParser):
    """Collects a page's elements, and the text of each script by its id."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self._script = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self._script = dict(attrs).get("id", "")
            self.scripts.append([self._script, ""])

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[-1][1] += data

    def handle_endtag(self, tag):
        if tag == "script":
            self._script = None

    def ids(self):
        return {attributes["id"] for _, attributes in self.elements if "id" in attributes}

    def data(self):
        return next(json.loads(text) for name, text in self.scripts if name == "data")
