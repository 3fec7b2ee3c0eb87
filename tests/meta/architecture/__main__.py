"""`python -m tests.meta.architecture` draws the pictures anew and writes the tables of their page."""

from tests.meta.architecture.page import PAGE, page, pictures

if __name__ == "__main__":
    for file, shapes in pictures().items():
        file.write_text(shapes)
    PAGE.write_text(page(PAGE.read_text()))
