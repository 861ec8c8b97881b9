"""Volumes by the cloud's own SDK for EVS, as a script of a user's has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import huaweicloudsdkevs.v2 as evs
import pytest
from huaweicloudsdkcore.exceptions.exceptions import ServiceResponseException


def creation(name: str, *, token: str | None = None, **fields: Any) -> evs.CreateVolumeRequest:
    """A request to create a volume."""
    wanted = {"size": 1, "volume_type": "SSD", "availability_zone": "local", **fields}
    body = evs.CreateVolumeRequestBody(volume=evs.CreateVolumeOption(name=name, **wanted))
    return evs.CreateVolumeRequest(x_client_token=token, body=body)


def create(sdk: Any, name: str, **fields: Any) -> str:
    """Make a volume and wait for its job; returns its id."""
    made = sdk.create_volume(creation(name, **fields))
    job = sdk.show_job(evs.ShowJobRequest(job_id=made.job_id))
    assert (job.status, job.job_type, job.entities.name) == ("SUCCESS", "createVolume", name)
    return str(job.entities.volume_id)


def show(sdk: Any, volume_id: str) -> Any:
    return sdk.show_volume(evs.ShowVolumeRequest(volume_id=volume_id)).volume


def refusal(call: Callable[[Any], object], request: Any) -> tuple[int, str]:
    """Status and code of the error that a call must end with."""
    with pytest.raises(ServiceResponseException) as caught:
        call(request)
    return caught.value.status_code, str(caught.value.error_code)
