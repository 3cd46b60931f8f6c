"""Pictures and answers over HTTP, for the page whose session they belong to: nobody else knows its key."""

import asyncio
import io
import json
from collections.abc import Callable
from urllib.parse import unquote

from fastapi import APIRouter, Request, Response
from PIL import Image
from starlette.requests import ClientDisconnect

from geochat.apis import PictureError, PictureTooLargeError
from geochat.serving.demo.sessions import Session, Sessions, closed
from geochat.serving.demo.shown import VIEW_SIDE, Shown, fit, shown
from geochat.serving.demo.talk import Talk, sentence
from geochat.serving.errors import APIError


class Files:
    """What the page takes and gives beside Gradio's events; nothing of it lies on the disk.

    Args:
        sessions: All open pages.
        talk: Reads pictures.
    """

    def __init__(self, sessions: Sessions, talk: Talk):
        self.sessions, self.talk = sessions, talk
        self.router = APIRouter(prefix='/sessions/{key}')
        self.router.add_api_route('/picture', self.take_picture, methods=['POST'])
        self.router.add_api_route('/picture', self.picture, methods=['GET'])
        self.router.add_api_route('/answers/{number}/view', self.view, methods=['GET'])
        self.router.add_api_route('/answers/{number}/geochat.png', self.drawing, methods=['GET'])
        self.router.add_api_route('/answers/{number}/geochat.json', self.json, methods=['GET'])
        self.router.add_api_route('/answers/{number}/geochat.geojson', self.geojson, methods=['GET'])

    async def take_picture(self, key: str, request: Request) -> dict[str, str]:
        """Open the picture that is the request's body."""
        session = self._session(key)
        number = next(session.openings)
        name = unquote(request.headers.get('x-file-name', '')) or 'your file'
        try:
            file = await asyncio.wait_for(request.body(), self.talk.limits.read_seconds)
            session.show(await self.talk.read(file, name), number)
        except PictureTooLargeError as error:
            raise APIError(413, _said(error, name), 'image_too_large') from error
        except PictureError as error:
            raise APIError(400, _said(error, name), 'invalid_image') from error
        except asyncio.TimeoutError:
            raise APIError(408, 'The file did not arrive in time.', 'body_timeout') from None
        except ClientDisconnect:
            raise APIError(499, 'The client has gone.', 'client_gone') from None
        return {'status': 'opened'}

    async def picture(self, key: str) -> Response:
        """Return a session's picture, as the page shows it."""
        session = self._session(key)
        if session.picture is None:
            raise _missing()
        return await self._png(lambda: fit(session.picture, VIEW_SIDE)[0])

    async def view(self, key: str, number: int) -> Response:
        """Return the picture with an answer's boxes, as the page shows it."""
        show = self._answer(key, number)
        return await self._png(lambda: show.draw(number, VIEW_SIDE))

    async def drawing(self, key: str, number: int) -> Response:
        """Return the whole picture with an answer's boxes, to keep."""
        show = self._answer(key, number)
        return _to_keep(await self._png(lambda: show.draw(number)), 'png')

    async def json(self, key: str, number: int) -> Response:
        """Return what is known of an answer, to keep."""
        answer = self._answer(key, number).answers[number]
        return _to_keep(Response(_text(answer.to_dict()), media_type='application/json'), 'json')

    async def geojson(self, key: str, number: int) -> Response:
        """Return an answer's boxes as polygons of pixels, to keep."""
        answer = self._answer(key, number).answers[number]
        return _to_keep(Response(_text(answer.to_geojson()), media_type='application/geo+json'), 'geojson')

    async def _png(self, draw: Callable[[], Image.Image]) -> Response:
        def encoded() -> bytes:
            buffer = io.BytesIO()
            draw().save(buffer, 'PNG', compress_level=3)
            return buffer.getvalue()

        return Response(await self.talk.in_thread(encoded), media_type='image/png')

    def _session(self, key: str) -> Session:
        session = self.sessions.find(key)
        if session is None:
            raise closed()
        return session

    def _answer(self, key: str, number: int) -> Shown:
        show = shown(self._session(key))
        if not 0 <= number < len(show.answers):
            raise _missing()
        return show


def _said(error: PictureError, name: str) -> str:
    """Return what is wrong with a file as a sentence, which may begin with the file's name as it is."""
    return str(error) if str(error).startswith(name) else sentence(str(error))


def _missing() -> APIError:
    return APIError(404, 'there is no such picture or answer any more', 'not_found')


def _text(content: dict) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + '\n'


def _to_keep(response: Response, kind: str) -> Response:
    response.headers['content-disposition'] = f'attachment; filename="geochat.{kind}"'
    return response
