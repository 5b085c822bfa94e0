"""Batch's answers about jobs: moto's response class, where jobs are our own."""

# mypy: allow-subclassing-any
from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from moto.batch.exceptions import ClientException
from moto.batch.models import batch_backends
from moto.batch.responses import BatchResponse
from moto.core.exceptions import AWSError

from .authorization import why_denied
from .batch_describe import detail, summary
from .batch_jobs import STATUSES, AnyJob, ArrayJob
from .paging import BadToken, page

if TYPE_CHECKING:
    from .batch import LocalBatchBackend

MOST = 100
"""Jobs of a DescribeJobs, and of a page of ListJobs."""


class AccessDenied(AWSError):
    TYPE = "AccessDeniedException"
    STATUS = 403


class LocalBatchResponse(BatchResponse):
    @property
    def batch_backend(self) -> LocalBatchBackend:
        backend: LocalBatchBackend = batch_backends[self.current_account][self.region]
        return backend

    def _authenticate_and_authorize_normal_action(self, resource: str) -> None:
        super()._authenticate_and_authorize_normal_action(resource)
        backend = self.batch_backend
        market = backend.ec2.cloud.market
        for action in market.scenario.region(self.region).denied:
            if action.lower() == self._get_action():
                raise AccessDenied(why_denied(market, self.region, "batch", action, self.get_access_key()))

    def _asked(self) -> dict[str, Any]:
        asked: dict[str, Any] = json.loads(self.body or "{}")
        return asked

    def submitjob(self) -> str:
        job = self.batch_backend.submit(self._asked())
        return json.dumps({"jobArn": job.arn, "jobName": job.request.name, "jobId": job.id})

    def describejobs(self) -> str:
        """https://docs.aws.amazon.com/batch/latest/APIReference/API_DescribeJobs.html; unknown ids are left out."""
        ids = self._asked().get("jobs") or []
        if len(ids) > MOST:
            raise ClientException(f"Error executing request, Exception : At most {MOST} jobs can be described at once.")
        backend = self.batch_backend
        with backend.scheduler.lock:
            found = [job for job in map(backend.job, ids) if job]
            return json.dumps({"jobs": [detail(job) for job in found]})

    def listjobs(self) -> str:
        """https://docs.aws.amazon.com/batch/latest/APIReference/API_ListJobs.html"""
        asked = self._asked()
        size = min(int(asked.get("maxResults") or MOST), MOST)
        with self.batch_backend.scheduler.lock:
            jobs = self._selected(asked)
            try:
                shown, following = page(jobs, size, asked.get("nextToken"))
            except BadToken:
                raise ClientException("Error executing request, Exception : Invalid nextToken.") from None
            answer: dict[str, Any] = {"jobSummaryList": [summary(job) for job in shown]}
        return json.dumps({**answer, "nextToken": following} if following else answer)

    def _selected(self, asked: dict[str, Any]) -> list[AnyJob]:
        """Running ones, if nothing is said about the status; with a filter the status does not count."""
        jobs = self._candidates(asked)
        if filters := asked.get("filters") or []:
            return [job for job in jobs if all(_passes(job, one) for one in filters)]
        status = asked.get("jobStatus") or "RUNNING"
        if status not in STATUSES:
            raise ClientException(f"Job status is not one of {' | '.join(STATUSES)}")
        return [job for job in jobs if job.status == status]

    def _candidates(self, asked: dict[str, Any]) -> Iterable[AnyJob]:
        backend = self.batch_backend
        if parent_id := asked.get("arrayJobId"):
            parent = backend.job(parent_id)
            if not isinstance(parent, ArrayJob):
                raise ClientException(f"Array job {parent_id} does not exist")
            return parent.children
        queue = backend.get_job_queue(asked.get("jobQueue") or "")
        if queue is None:
            raise ClientException(f"Job queue {asked.get('jobQueue')} does not exist")
        found = [job for job in backend.jobs.values() if job.request.queue == queue.arn]
        return sorted(found, key=lambda job: job.created_at, reverse=bool(asked.get("filters")))

    def terminatejob(self) -> str:
        return self._end("terminate")

    def canceljob(self) -> str:
        return self._end("cancel")

    def _end(self, by: str) -> str:
        asked = self._asked()
        self.batch_backend.end_job(asked.get("jobId") or "", asked.get("reason") or "", by)
        return "{}"


def _passes(job: AnyJob, asked: dict[str, Any]) -> bool:
    """A name is compared in any case, and an asterisk at its end stands for anything."""
    match asked.get("name"):
        case "JOB_NAME":
            name = job.request.name.lower()
            wanted = [value.lower() for value in asked.get("values") or []]
            return any(name.startswith(one[:-1]) if one.endswith("*") else name == one for one in wanted)
        case other:
            raise ClientException(f"The local cloud does not filter jobs by {other}.")
