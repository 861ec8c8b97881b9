"""Operations of several steps, which outlive the request that began them: jobs."""
