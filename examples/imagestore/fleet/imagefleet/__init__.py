"""The image store of several nodes: one SQL catalogue, one folder of content that all nodes share.

It has three releases. What they do for clients is the same; how they keep it in the catalogue differs, and stands in one
module, `release.py`, which is another one in each release.

    POST   /images           {"name": …, "visibility": "public" | "private"}: a new image, queued
    PUT    /images/ID/file   its content, once
    GET    /images/ID        what is known of it
    GET    /images/ID/file   the content
    PATCH  /images/ID        {"name": …, "visibility": …}
    DELETE /images/ID
    GET    /images           the listing, 100 at a time, from ?after=ID
    GET    /healthz          200 if the catalogue answers and content can be written
    GET    /version          the release that runs, the node, the process id
"""
