"""The two origins' conversations: the hub's API and ``resolve``, and the CDN's blobs."""

import hashlib
from urllib.parse import parse_qs, quote, urlencode

from tests.support.hub import answers
from tests.support.hub.faults import Kind, Stage
from tests.support.hub.repository import Commit, HubFile, Repository
from tests.support.hub.state import HubState
from tests.support.hub.transport import Exchange


class HubExchange(Exchange):
    """Requests to the hub: the API and ``resolve``."""

    hub: HubState

    def serve(self) -> None:
        """Answer an API call, or describe or send a file."""
        parts, query = self.split()
        if parts[:2] == ["api", "resolve-cache"] and len(parts) > 6:
            self._resolve("/".join(parts[3:5]), parts[5], "/".join(parts[6:]), cached=True)
        elif parts[:2] == ["api", "datasets"] and len(parts) >= 4:
            self._call("/".join(parts[1:4]), parts[4:], parse_qs(query))
        elif parts[:1] == ["datasets"] and len(parts) > 5 and parts[3] == "resolve":
            self._resolve("/".join(parts[:3]), parts[4], "/".join(parts[5:]))
        elif parts[:2] == ["api", "models"] and len(parts) >= 4:
            self._call("/".join(parts[2:4]), parts[4:], parse_qs(query))
        elif len(parts) > 4 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        elif self.begin(Stage.API, "unknown"):
            self.fail(404, "Sorry, we can't find the page you are looking for.")

    # -- the API

    def _call(self, name: str, rest: list[str], query: dict[str, list[str]]) -> None:
        call = rest[0] if rest and rest[0] != "revision" else "info"
        form = self._read_form()
        if not self.begin(Stage.API, call):
            return
        repository = self._find_repository(name, closed=call == "auth-check")
        if repository is None:
            return
        if call == "auth-check":
            self.answer_json({})
            return
        if call == "refs":
            self.answer_json(answers.refs(repository))
            return
        commit = self._find_commit(repository, rest[1] if len(rest) > 1 else "main")
        if commit is None:
            return
        match call:
            case "info":
                blobs, security = (_is_true(query, key) for key in ("blobs", "securityStatus"))
                self.answer_json(
                    answers.model_info(repository, commit, blobs=blobs, security=security)
                )
            case "tree":
                self._tree(commit, "/".join(rest[2:]), query)
            case "paths-info":
                expand = _is_true(form, "expand")
                self.answer_json(answers.paths_info(commit, form.get("paths", []), expand=expand))
            case "commits":
                self.answer_json(answers.commits(repository))
            case _:
                self._lend(call)

    def _lend(self, call: str) -> None:
        if call == "xet-read-token" and self.hub.cas:
            self.answer(200, self.hub.lend_xet_token())
        else:
            self.fail(404, f"no such call: {call}")

    def _read_form(self) -> dict[str, list[str]]:
        length = int(self.headers.get("Content-Length") or 0)
        return parse_qs(self.rfile.read(length).decode()) if length else {}

    def _tree(self, commit: Commit, below: str, query: dict[str, list[str]]) -> None:
        expand = _is_true(query, "expand")
        recursive = _is_true(query, "recursive")
        entries = answers.tree(commit, below=below, recursive=recursive, expand=expand)
        size = max(1, self.hub.page_size // 20) if expand else self.hub.page_size
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + size < len(entries):
            following = {"recursive": recursive, "expand": expand, "cursor": start + size}
            url = f"{self.hub.endpoint}{self.path.partition('?')[0]}?{urlencode(following)}"
            headers["Link"] = f'<{url}>; rel="next"'
        self.answer_json(entries[start : start + size], headers)

    # -- files

    def _resolve(self, name: str, revision: str, path: str, *, cached: bool = False) -> None:
        if not self.begin(Stage.RESOLVE, path):
            return
        repository = self._find_repository(name, closed=True)
        if repository is None:
            return
        commit = self._find_commit(repository, revision)
        if commit is None:
            return
        file = commit.files.get(path)
        if file is None:
            self.fail(404, "Entry not found", code="EntryNotFound")
            return
        headers = {"X-Repo-Commit": commit.id}
        if fault := self.fault(Kind.COMMIT):
            headers["X-Repo-Commit"] = fault.value
        if file.lfs and not self.hub.mirror:
            self._redirect_to_cdn(file, headers)
        elif self.hub.resolve_cache and not cached and not self.hub.mirror:
            location = f"/api/resolve-cache/models/{name}/{commit.id}/{quote(path)}"
            self.answer(307, {**headers, "Location": location, "ETag": f'"{file.blob_id}"'})
        else:
            self._send_directly(file, headers)

    def _redirect_to_cdn(self, file: HubFile, headers: dict[str, str]) -> None:
        linked = file.sha256
        if fault := self.fault(Kind.LINKED_ETAG):
            linked = fault.value
        headers |= {
            "X-Linked-Etag": f'"{linked}"',
            "X-Linked-Size": str(file.size),
            "Location": self.hub.sign(file, etag=hashlib.md5(file.path.encode()).hexdigest()),
        }
        self.answer(302, headers)

    def _send_directly(self, file: HubFile, headers: dict[str, str]) -> None:
        etag = file.sha256 if file.lfs else file.blob_id
        if fault := self.fault(Kind.ETAG):
            etag = fault.value
        headers |= {"ETag": f'"{etag}"', "Content-Type": "application/octet-stream"}
        if self.command == "HEAD":
            self.answer(200, {**headers, "Content-Length": str(file.size)})
        else:
            self.send_file(file, headers)

    # -- who may see what

    def _find_repository(self, name: str, *, closed: bool) -> Repository | None:
        """Return the repository, or answer why not; gates apply where ``closed``."""
        if name in self.hub.renamed:
            target = self.path.replace(name, self.hub.renamed[name], 1)
            self.answer(307, {"Location": target})
            return None
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in self.hub.tokens:
            self.fail(401, "Invalid credentials in Authorization header")
            return None
        repository = self.hub.repositories.get(name)
        may_read = name in self.hub.tokens.get(token, set())
        if repository is None or (repository.private and not may_read):
            status = 404 if token else 401
            message = "Repository not found" if token else "Invalid username or password."
            self.fail(status, message, code="RepoNotFound")
            return None
        if closed and repository.gated and not may_read:
            self.fail(
                403 if token else 401, f"Access to model {name} is restricted.", code="GatedRepo"
            )
            return None
        return repository

    def _find_commit(self, repository: Repository, revision: str) -> Commit | None:
        commit = repository.find(revision)
        if commit is None:
            self.fail(404, f"Invalid rev id: {revision}", code="RevisionNotFound")
        return commit


class CdnExchange(Exchange):
    """Requests to the second origin: signed URLs and nothing else."""

    hub: HubState

    def serve(self) -> None:
        """Describe a file, or send it or a range of it."""
        parts, query_text = self.split()
        query = {name: values[0] for name, values in parse_qs(query_text).items()}
        if not self.begin(Stage.CDN, query.get("path", "")):
            return
        file = None
        if len(parts) == 2 and {"Expires", "Signature"} <= query.keys():
            file = self.hub.accept(parts[1], query["Expires"], query["Signature"])
        if file is None:
            self.fail(403, "AccessDenied: Request has expired")
            return
        etag = query["etag"]
        if fault := self.fault(Kind.ETAG):
            etag = fault.value
        headers = {"ETag": f'"{etag}"', "Content-Type": "application/octet-stream"}
        if self.command == "HEAD":
            self.answer(200, {**headers, "Content-Length": str(file.size)})
        else:
            self.send_file(file, headers)


def _is_true(values: dict[str, list[str]], key: str) -> bool:
    return values.get(key, [""])[0].lower() in ("true", "1")
