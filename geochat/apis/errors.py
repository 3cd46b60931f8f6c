"""What is wrong with a question or a picture that a user brought, told in one line."""


class InputError(ValueError):
    """A question that cannot be asked; the message says why, and what to do where something can be done."""


class PictureError(InputError):
    """A picture that cannot be taken; the message names it and says why."""


class PictureTooLargeError(PictureError):
    """A picture, or its file, with more pixels or bytes than are taken."""
