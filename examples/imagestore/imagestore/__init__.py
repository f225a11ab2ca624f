"""A small image store, after OpenStack Glance: uploads, downloads, a listing, on files and SQLite.

It is what the demo changes while clients use it, so it is written as any service is: it does not know
Hitless.

    PUT    /images/ID     store the body (also POST /images, which makes up an ID)
    GET    /images/ID     the content
    DELETE /images/ID
    GET    /images        the listing, 100 at a time, from ?after=ID
    GET    /healthz       200 if the catalogue answers and the first storage path can be written
    GET    /version       code version, storage paths, process id
"""
