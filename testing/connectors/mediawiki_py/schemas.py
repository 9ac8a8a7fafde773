from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

LONG, TEXT, FLAG, TIME, TEXTS = LongType(), StringType(), BooleanType(), TimestampType(), ArrayType(StringType(), False)


def table(required: dict[str, DataType], **nullable: DataType) -> StructType:
    fields = [StructField(name, kind, False) for name, kind in required.items()]
    return StructType(fields + [StructField(name, kind, True) for name, kind in nullable.items()])


PAGES = table(
    {"pageid": LONG, "touched": TIME},
    ns=LONG,
    title=TEXT,
    lastrevid=LONG,
    length=LONG,
    redirect=FLAG,
    new=FLAG,
    contentmodel=TEXT,
    pagelanguage=TEXT,
)

REVISIONS = table(
    {"revid": LONG, "pageid": LONG, "timestamp": TIME},
    parentid=LONG,
    ns=LONG,
    title=TEXT,
    user=TEXT,
    userid=LONG,
    anon=FLAG,
    userhidden=FLAG,
    comment=TEXT,
    commenthidden=FLAG,
    minor=FLAG,
    size=LONG,
    sha1=TEXT,
    sha1hidden=FLAG,
    texthidden=FLAG,
    suppressed=FLAG,
    tags=TEXTS,
    roles=TEXTS,
    contentmodel=TEXT,
)

USERS = table(
    {"userid": LONG},
    name=TEXT,
    editcount=LONG,
    registration=TIME,
    groups=TEXTS,
    blockid=LONG,
    blockedby=TEXT,
    blockedbyid=LONG,
    blockreason=TEXT,
    blockedtimestamp=TIME,
    blockexpiry=TEXT,
    blockpartial=FLAG,
)
