"""Stock of a depot."""

from databricks.labs.community_connector.sparkpds import LakeflowSource

from .parts_depot import PartsDepotLakeflowConnect


class PartsDepotDataSource(LakeflowSource):
    """The data source of this package."""

    _lakeflow_connect_cls = PartsDepotLakeflowConnect


__all__ = ["PartsDepotDataSource"]
